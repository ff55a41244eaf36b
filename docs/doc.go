// Package docs holds the guides. Its tests run the guides' commands with the
// program itself, as readers would, and hold README, CONTRIBUTING and the list
// of faults to what is there.
package docs
