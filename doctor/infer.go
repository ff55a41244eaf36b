package doctor

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/poolproof/poolproof"
)

// Names of columns that mean a tenant wherever they are. Others, such as org_id, count where
// a policy compares one with a setting.
var tenantNames = []string{"tenant_id", "tenantid", "tenant_uuid", "tenant"}

// infer finds out the tenant's setting and the columns that name a tenant, where
// cfg does not say, and what each table's policies are.
func (f *facts) infer(cfg Config) {
	byTable := map[uint32][]policy{}
	for _, p := range f.policies {
		byTable[p.Table] = append(byTable[p.Table], p)
	}
	f.bySetting = map[string]int{}
	for i := range f.tables {
		t := &f.tables[i]
		t.policies = byTable[t.OID]
		var read []string
		for _, p := range t.policies {
			for _, s := range p.settings() {
				if !slices.Contains(read, s) && len(p.compared(s, *t)) > 0 {
					read = append(read, s)
				}
			}
		}
		for _, s := range read {
			f.bySetting[s]++
		}
	}
	if f.setting = strings.ToLower(cfg.TenantSetting); f.setting == "" {
		names := slices.SortedFunc(maps.Keys(f.bySetting), func(a, b string) int {
			return cmp.Or(f.bySetting[b]-f.bySetting[a], cmp.Compare(likely(b), likely(a)), cmp.Compare(a, b))
		})
		if f.setting, f.assumed = poolproof.DefaultTenantSetting, true; len(names) > 0 {
			f.setting, f.assumed = names[0], false
		}
	}
	if f.columns = cfg.TenantColumns; len(f.columns) == 0 {
		f.columns = slices.Clone(tenantNames)
		for _, t := range f.tables {
			for _, p := range t.policies {
				for _, c := range p.compared(f.setting, t) {
					if strings.HasSuffix(c, "_id") && !slices.Contains(f.columns, c) {
						f.columns = append(f.columns, c)
					}
				}
			}
		}
	}
	for i := range f.tables {
		f.tables[i].decide(f.setting, f.columns)
	}
}

// likely orders settings that equally many tables' policies read.
func likely(setting string) int {
	switch {
	case strings.Contains(setting, "tenant"):
		return 2
	case strings.Contains(setting, "user"):
		return 0
	}
	return 1
}

// decide sets the table's tenant column: the one that its policies compare with the
// setting, or else one of that name.
func (t *table) decide(setting string, names []string) {
	found := ""
	for _, p := range t.policies {
		if columns := p.compared(setting, *t); len(columns) > 0 && found == "" {
			found = columns[0]
		}
	}
	for _, n := range names {
		if found == "" && slices.Contains(t.Columns, n) {
			found = n
		}
	}
	if i := slices.Index(t.Columns, found); i >= 0 {
		t.column, t.quoted, t.typ = found, t.Quoted[i], t.Types[i]
	}
}
