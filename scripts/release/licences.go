package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// licence is a file of a module that says what one may do with it.
type licence struct {
	file string
	text []byte
}

var (
	licenceFile = regexp.MustCompile(`(?i)^((.+\.)?licen[cs]e|copying|notice|patents)(\.(txt|md))?$`)
	grantFile   = regexp.MustCompile(`(?i)^(licen[cs]e|copying)`)
)

// readLicences reads the licence files of a module's folder. None is an error:
// what may not be given away is not released.
func readLicences(folder string) ([]licence, error) {
	files, err := os.ReadDir(folder) // sorted by name
	if err != nil {
		return nil, err
	}
	var found []licence
	granted := false
	for _, f := range files {
		if f.IsDir() || !licenceFile.MatchString(f.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			return nil, err
		}
		found = append(found, licence{f.Name(), text})
		granted = granted || grantFile.MatchString(f.Name())
	}
	if !granted {
		return nil, errors.New("no licence file")
	}
	return found, nil
}

const publicDomain = "Public domain"

// texts are the licences that a person has read, by the sum of their words.
// Only the same words give a name: nothing is guessed from a text that merely
// looks like a licence.
var texts = map[string]string{
	"0cf21bdfd1964a97a8615e128534845826afbc887edc95aa5c925cbf64386b5c": "MIT",
	"e87dea5078ce2faaea46d3475af18d30a5c0ac0f09425b60b3e0c6569f72f8d2": "Apache-2.0",
	"f0f04b7786d5e0dc63e89d64e906b3f3e18e70f9bc93028a53ca7d5b88957fe2": "Apache-2.0 AND BSD-3-Clause", // OpenTelemetry's, with Go's below it
	"526279aa5ce65fb23ffd45ae5430abc95af7bd6118ff94cc2842185ce6aa2c02": "BSD-3-Clause",                // names Google Inc.
	"cb1ce31a60c2422f9056e5e23bf9a1050675efd17869be56cd2d7c07685d30d7": "BSD-3-Clause",                // names Google LLC
	"9c1c2bcc686d76b34b8ac8a185d23650c7813776246dca9a755d033c0f58919a": "BSD-3-Clause",                // names the Open Knowledge Foundation
	"b2dbdbc564257a8a643d6585c4fe648cf7ff13d6b63f679383b1624535ab2033": publicDomain,                  // xi2/xz's own words
}

// identify returns the SPDX expression of a licence, or "" for a text that
// nobody has read yet.
func identify(files []licence) string {
	for _, f := range files {
		if grantFile.MatchString(f.file) {
			return texts[sum([]byte(words(string(f.text))))]
		}
	}
	return ""
}

var (
	// preliminary are the lines that differ between copies of one licence:
	// whose it is, and its title.
	preliminary = regexp.MustCompile(`(?im)^\s*((portions )?copyright [({\[0-9]|all rights reserved|(the )?mit license).*$`)
	noWord      = regexp.MustCompile(`[^a-z0-9]+`)
)

// words are a licence's words, without case, layout and punctuation.
func words(text string) string {
	return strings.TrimSpace(noWord.ReplaceAllString(strings.ToLower(preliminary.ReplaceAllString(text, "")), " "))
}
