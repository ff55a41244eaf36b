// Package options finds what is wrong with a database URL and with the options of
// a driver before anything is sent: options that the driver does not know in that
// version, that contradict the pooler, or that do nothing; a user name that a
// shared pooler cannot place; a host that this network cannot reach.
//
// What a driver knows comes from the driver itself: known.json is made by
// scripts/driveroptions.
package options
