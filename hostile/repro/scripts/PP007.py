a, b = Client("a"), Client("b")

a.query("declare {{ident .Subject}} cursor with hold for select 'a row of a'")

rows = []
b.query("begin")  # takes the server connection that has it
b.fails(lambda: rows.extend(b.query("fetch {{ident .Subject}}")))
error = a.fails(a.query, "fetch {{ident .Subject}}")
seen(rows == [("a row of a",)] and error is not None and error.code == "34000", "client b fetches client a's rows, and client a does not find its cursor")
