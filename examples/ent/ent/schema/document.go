// Package schema is what ent generates its code from.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
	"github.com/google/uuid"
)

// Document is a row of documents. Its tenant_id has a default in the database, so
// that programs need not set it.
type Document struct{ ent.Schema }

// Annotations name the table.
func (Document) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Annotation{Table: "documents"}}
}

// Fields are the columns.
func (Document) Fields() []ent.Field {
	return []ent.Field{
		field.UUID("tenant_id", uuid.UUID{}).Optional(),
		field.String("title"),
		field.JSON("meta", map[string]string{}).Default(map[string]string{}),
	}
}
