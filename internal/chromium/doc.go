// Package chromium finds the browser that tests of pages run in.
package chromium
