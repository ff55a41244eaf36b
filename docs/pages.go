package docs

import "embed"

// Pages are the pages of the codes: prove/PP001.md, doctor/PD001.md. poolproof explain
// prints them without a network.
//
//go:embed prove/*.md doctor/*.md
var Pages embed.FS
