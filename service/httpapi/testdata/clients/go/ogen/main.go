// Command ogen lists and creates a role by the client that ogen has generated;
// see the test.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"clients/ogen/api"
)

type bearer struct{}

func (bearer) Bearer(context.Context, api.OperationName) (api.Bearer, error) {
	return api.Bearer{Token: os.Getenv("POOLPROOF_TOKEN")}, nil
}

func main() {
	ctx := context.Background()
	tenant := api.NewOptString(os.Getenv("POOLPROOF_TENANT"))
	client, err := api.NewClient(os.Getenv("POOLPROOF_URL"), bearer{})
	if err != nil {
		log.Fatal(err)
	}
	var said struct {
		Before, After []string
		ID            int32
		Problem       string
	}
	list := func() (names []string) {
		params := api.ListRolesParams{XTenantID: tenant, PageSize: api.NewOptInt(2)}
		for {
			answer, err := client.ListRoles(ctx, params)
			if err != nil {
				log.Fatal(err)
			}
			page, ok := answer.(*api.RolePageHeaders)
			if !ok {
				log.Fatalf("%T: %+v", answer, answer)
			}
			for _, role := range page.Response.Data {
				names = append(names, role.Name)
			}
			if page.Response.NextPageToken == "" {
				return names
			}
			params.PageToken = api.NewOptString(page.Response.NextPageToken)
		}
	}
	create := func() api.CreateRoleRes {
		made, err := client.CreateRole(ctx, &api.NewRole{Name: os.Args[1], Description: api.NewOptNilString("Made by a generated client.")}, api.CreateRoleParams{XTenantID: tenant})
		if err != nil {
			log.Fatal(err)
		}
		return made
	}
	said.Before = list()
	answer := create()
	made, ok := answer.(*api.CreateRoleCreatedHeaders)
	if !ok {
		log.Fatalf("%T: %+v", answer, answer)
	}
	said.ID = int32(made.Response.Data.ID)
	answer = create()
	refused, ok := answer.(*api.ConflictHeaders)
	if !ok {
		log.Fatalf("%T: %+v", answer, answer)
	}
	said.Problem = string(refused.Response.Code)
	said.After = list()
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		log.Fatal(err)
	}
}
