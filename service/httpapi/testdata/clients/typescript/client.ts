// Lists and creates a role by the types that openapi-typescript has generated;
// see the test.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { env: Record<string, string>; argv: string[] };

const client = createClient<paths>({
	baseUrl: process.env.POOLPROOF_URL,
	headers: { Authorization: `Bearer ${process.env.POOLPROOF_TOKEN}` },
});
const header = { "X-Tenant-ID": process.env.POOLPROOF_TENANT };

async function list(): Promise<string[]> {
	const names: string[] = [];
	let page_token = "";
	do {
		const { data, error } = await client.GET("/api/v3/rbac/roles", { params: { header, query: { page_size: 2, page_token } } });
		if (!data) throw new Error(JSON.stringify(error));
		names.push(...data.data.map((role: components["schemas"]["Role"]) => role.name));
		page_token = data.next_page_token;
	} while (page_token !== "");
	return names;
}

const create = () =>
	client.POST("/api/v3/rbac/roles", { params: { header }, body: { name: process.argv[2], description: "Made by a generated client." } });

const Before = await list();
const made = await create();
if (!made.data) throw new Error(JSON.stringify(made.error));
const again = await create();
if (!again.error) throw new Error("made twice");
console.log(JSON.stringify({ Before, ID: made.data.data.id, Problem: again.error.code, After: await list() }));
