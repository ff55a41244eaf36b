package exactjson

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

type person struct {
	Name  string  `json:"name"`
	IDs   []int   `json:"ids,omitempty"`
	Null  *string `json:"null"`
	Not   string  `json:"-"`
	Plain string  // no tag: never filled
}

func TestNamesAreTakenByTheLetter(t *testing.T) {
	var p person
	raw := `{"NAME":"a","Name":"b","na\u006de":"right","\u006eaſme":"c","Plain":"d","plain":"e","":"f","-":"g","Not":"h","ids":[1,2],"null":null,"x":{"y":1,"y":2}}`
	if err := Unmarshal([]byte(raw), &p); err != nil {
		t.Fatal(err)
	}
	if p.Name != "right" || len(p.IDs) != 2 || p.Null != nil || p.Plain != "" || p.Not != "" {
		t.Errorf("%+v", p)
	}
}

func TestRefused(t *testing.T) {
	for raw, want := range map[string]string{
		`{"name":"a","name":"a"}`:      `"name" is there twice`,
		`{"name":"a","n\u0061me":"b"}`: `"name" is there twice`,
		`{"other":1,"other":2}`:        `"other" is there twice`,
		`["name"]`:                     "it is none",
		`null`:                         "it is none",
		`"name"`:                       "it is none",
		``:                             "EOF",
		`{`:                            "EOF",
		`{"name"`:                      "EOF",
		`{"name":"a"`:                  "EOF",
		`{"name":"a",}`:                "invalid character",
		`{"name" "a"}`:                 "expected colon",
		`{name:"a"}`:                   "invalid character",
		`{"name":"a"}{`:                "something follows",
		`{"name":"a"} x`:               "something follows",
		`{"name":1}`:                   "cannot unmarshal number",
		`{"ids":[1,"x"]}`:              "cannot unmarshal string",
		`{"name":"a\` + "\x00" + `"}`:  "invalid character",
	} {
		var p person
		if err := Unmarshal([]byte(raw), &p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error that says %s", raw, err, want)
		}
	}
}

func TestErrorsNameTheMember(t *testing.T) {
	var p person
	err := Unmarshal([]byte(`{"ids":[1,"x"]}`), &p)
	typeErr, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok || typeErr.Field != "ids" || typeErr.Value != "string" {
		t.Errorf("%v", err)
	}
	err = Unmarshal([]byte(`{"name":1,"NAME":1,"name":2}`), &p)
	if double, ok := errors.AsType[*DuplicateError](err); !ok || double.Name != "name" {
		t.Errorf("%v", err)
	}
}
