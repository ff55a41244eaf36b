// Package chromium finds and sets up the browser that tests of pages run in:
// Debian's chromium-headless-shell, which takes half of the CPU time of the
// whole browser, or a browser that is the same.
package chromium
