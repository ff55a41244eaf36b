// Package docs is the guides. Its tests run their commands as readers would, by
// the program itself.
package docs
