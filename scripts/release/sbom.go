package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const modulePath = "github.com/poolproof/poolproof"

// part is something that was linked into the program, or embedded.
type part struct {
	name, version string // a module's path and version, or stdlib and Go's version; of an npm package, the package's
	licences      []licence
	npm           bool
}

// purl is the part's package URL.
func (p part) purl() string {
	if p.npm {
		return "pkg:npm/" + p.name + "@" + p.version
	}
	return "pkg:golang/" + p.name + "@" + strings.ReplaceAll(strings.TrimPrefix(p.version, "go"), "+", "%2B")
}

// contents reads out of a built program which modules and which Go are in it,
// and finds their licences in the folders where their source is.
func contents(program []byte, folders map[string]string) ([]part, error) {
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return nil, fmt.Errorf("what the program is made of: %w", err)
	}
	parts := []part{{name: "stdlib", version: info.GoVersion}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		parts = append(parts, part{name: m.Path, version: m.Version})
	}
	for i, p := range parts {
		folder, ok := folders[p.name+" "+p.version]
		if !ok {
			return nil, fmt.Errorf("the source of %s %s is not here", p.name, p.version)
		}
		if parts[i].licences, err = readLicences(folder); err != nil {
			return nil, fmt.Errorf("the licence of %s: %w", p.name, err)
		}
	}
	return parts, nil
}

// packages are the npm packages whose files the program embeds: where they lie,
// and in which of them and how they name their version.
var packages = []struct {
	name, folder, file string
	version            *regexp.Regexp
}{
	{"swagger-ui-dist", "service/console/static/docs/swagger-ui", "swagger-ui-bundle.js", regexp.MustCompile(`PACKAGE_VERSION:"([0-9.]+)"`)},
	{"oauth4webapi", "service/console/static/assets/third_party/oauth4webapi", "index.js", regexp.MustCompile(`const VERSION = 'v([0-9.]+)'`)},
}

// embedded returns the parts that are files, not modules.
func embedded(source string) ([]part, error) {
	var parts []part
	for _, npm := range packages {
		folder := filepath.Join(source, npm.folder)
		text, err := os.ReadFile(filepath.Join(folder, npm.file))
		if err != nil {
			return nil, err
		}
		version := npm.version.FindSubmatch(text)
		if version == nil {
			return nil, fmt.Errorf("the version of %s is not in it", npm.name)
		}
		p := part{name: npm.name, version: string(version[1]), npm: true}
		if p.licences, err = readLicences(folder); err != nil {
			return nil, fmt.Errorf("the licence of %s: %w", p.name, err)
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// moduleFolders says where the source of each module is, by "path version",
// and that of Go's standard library.
func moduleFolders(ctx context.Context, source string) (map[string]string, error) {
	goCommand := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = source
		return output(cmd)
	}
	env, err := goCommand("env", "GOVERSION", "GOROOT")
	if err != nil {
		return nil, err
	}
	version, root, _ := strings.Cut(env, "\n")
	folders := map[string]string{"stdlib " + version: root}
	list, err := goCommand("list", "-m", "-json", "all")
	if err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(strings.NewReader(list)); ; {
		var m struct {
			Path    string `json:"Path"`
			Version string `json:"Version"`
			Dir     string `json:"Dir"`
		}
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return folders, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list -m -json: %w", err)
		}
		if m.Dir != "" { // else it is not in the module cache, and not in the program
			folders[m.Path+" "+m.Version] = m.Dir
		}
	}
}

// The parts of CycloneDX 1.6 that we write. There is no serial number and no
// time: they would differ each time.
type (
	bom struct {
		Format     string      `json:"bomFormat"`
		Spec       string      `json:"specVersion"`
		Version    int         `json:"version"`
		Metadata   metadata    `json:"metadata"`
		Components []component `json:"components"`
	}
	metadata struct {
		Component component `json:"component"`
	}
	component struct {
		Type     string          `json:"type"`
		Ref      string          `json:"bom-ref"`
		Name     string          `json:"name"`
		Version  string          `json:"version"`
		Hashes   []hash          `json:"hashes,omitempty"`
		Licences []licenceChoice `json:"licenses,omitempty"`
		PURL     string          `json:"purl"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	licenceChoice struct {
		Licence    *licenceName `json:"license,omitempty"`
		Expression string       `json:"expression,omitempty"`
	}
	licenceName struct {
		ID   string `json:"id,omitempty"`
		Name string `json:"name,omitempty"`
	}
)

// billOfMaterials is the program's, as CycloneDX JSON.
func billOfMaterials(version string, t target, program, own []byte, parts []part) ([]byte, error) {
	this := part{name: modulePath, version: version, licences: []licence{{"LICENSE", own}}}
	described := this.component("application")
	described.PURL += "?goos=" + t.os + "&goarch=" + t.arch
	described.Ref = described.PURL
	described.Hashes = []hash{{"SHA-256", sum(program)}}
	b := bom{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{described}}
	for _, p := range parts {
		b.Components = append(b.Components, p.component("library"))
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(b); err != nil {
		return nil, fmt.Errorf("write the bill of materials: %w", err)
	}
	return text.Bytes(), nil
}

func (p part) component(kind string) component {
	c := component{Type: kind, Ref: p.purl(), Name: p.name, Version: p.version, PURL: p.purl()}
	switch id := identify(p.licences); {
	case id == "":
	case id == publicDomain:
		c.Licences = []licenceChoice{{Licence: &licenceName{Name: id}}}
	case strings.Contains(id, " "):
		c.Licences = []licenceChoice{{Expression: id}}
	default:
		c.Licences = []licenceChoice{{Licence: &licenceName{ID: id}}}
	}
	return c
}
