a, b = Client("a"), Client("b")

a.query("create temporary table {{ident .Subject}} (whose text)")
a.query("insert into {{ident .Subject}} values ('a row of a')")

rows = []
b.query("begin")  # takes the server connection that has it
b.fails(lambda: rows.extend(b.query("select * from {{ident .Subject}}")))
error = a.fails(a.query, "select * from {{ident .Subject}}")
seen(rows == [("a row of a",)] and error is not None and error.code == "42P01", "client b reads client a's temporary table, and client a does not find it")
