// Command check reads Kubernetes manifests as the API server would with strict
// field validation: into the types of k8s.io/api, where an unknown or repeated
// field, and a value of the wrong type, is an error. It is a module of its own,
// so that nobody who uses poolproof gets those packages.
//
//	check FILE…
//
// It prints the kind and name of each object. Exit 1: what is wrong with which
// object is on standard error.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strictjson "sigs.k8s.io/json"
	strictyaml "sigs.k8s.io/yaml"
)

func main() {
	failed := false
	for _, name := range os.Args[1:] {
		if err := checkFile(name); err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		}
	}
	if failed || len(os.Args) < 2 {
		os.Exit(1)
	}
}

func checkFile(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	objects := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	var faults []error
	for n := 0; ; n++ {
		object, err := objects.Read()
		if errors.Is(err, io.EOF) {
			if n == 0 {
				faults = append(faults, errors.New("no object"))
			}
			return errors.Join(faults...)
		}
		if err == nil {
			err = checkObject(object)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("object %d: %w", n+1, err))
		}
	}
}

func checkObject(text []byte) error {
	// To JSON without the type in sight, as clients do: with it, a number would be
	// made the text that the type wants, which the API server does not do.
	asJSON, err := strictyaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	var head metav1.TypeMeta
	if err := json.Unmarshal(asJSON, &head); err != nil {
		return err
	}
	var object metav1.Object
	switch kind := head.APIVersion + " " + head.Kind; kind {
	case "apps/v1 Deployment":
		object = &appsv1.Deployment{}
	case "v1 Service":
		object = &corev1.Service{}
	case "policy/v1 PodDisruptionBudget":
		object = &policyv1.PodDisruptionBudget{}
	default:
		return fmt.Errorf("%q is none of the kinds that are known here", kind)
	}
	faults, err := strictjson.UnmarshalStrict(asJSON, object)
	if err = errors.Join(append(faults, err)...); err != nil {
		return fmt.Errorf("%s: %w", head.Kind, err)
	}
	if object.GetName() == "" {
		return fmt.Errorf("%s: metadata.name is missing", head.Kind)
	}
	fmt.Println(head.Kind, object.GetName())
	return nil
}
