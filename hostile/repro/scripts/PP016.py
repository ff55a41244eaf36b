a = Client("a")
show = "select coalesce(current_setting({{sql .Subject}}, true), '')"

before = a.query(show)
a.query({{py .Statement}})  # PostgreSQL itself warns: no pooler is needed for this
seen(a.query(show) == before, "the setting is not there for the next statement")
