// Command oapi lists and creates a role by the client that oapi-codegen has
// generated; see the test.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"

	"clients/oapi/api"
)

func main() {
	ctx := context.Background()
	tenant := os.Getenv("POOLPROOF_TENANT")
	client, err := api.NewClientWithResponses(os.Getenv("POOLPROOF_URL"), api.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+os.Getenv("POOLPROOF_TOKEN"))
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
	var said struct {
		Before, After []string
		ID            int32
		Problem       string
	}
	list := func() (names []string) {
		size, token := 2, ""
		for {
			page, err := client.ListRolesWithResponse(ctx, &api.ListRolesParams{XTenantID: &tenant, PageSize: &size, PageToken: &token})
			if err != nil {
				log.Fatal(err)
			}
			if page.JSON200 == nil {
				log.Fatalf("%s: %s", page.Status(), page.Body)
			}
			for _, role := range page.JSON200.Data {
				names = append(names, role.Name)
			}
			if token = page.JSON200.NextPageToken; token == "" {
				return names
			}
		}
	}
	create := func() *api.CreateRoleResponse {
		description := "Made by a generated client."
		made, err := client.CreateRoleWithResponse(ctx, &api.CreateRoleParams{XTenantID: &tenant}, api.NewRole{Name: os.Args[1], Description: &description})
		if err != nil {
			log.Fatal(err)
		}
		return made
	}
	said.Before = list()
	made := create()
	if made.JSON201 == nil {
		log.Fatalf("%s: %s", made.Status(), made.Body)
	}
	said.ID = made.JSON201.Data.Id
	again := create()
	if again.ApplicationproblemJSON409 == nil {
		log.Fatalf("%s: %s", again.Status(), again.Body)
	}
	said.Problem = string(again.ApplicationproblemJSON409.Code)
	said.After = list()
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		log.Fatal(err)
	}
}
