a, b = Client("a"), Client("b")

a.query("prepare {{ident .Subject}} as select 'the answer for a'")

rows = []
b.query("begin")  # takes the server connection that has it
b.fails(lambda: rows.extend(b.query("execute {{ident .Subject}}")))
error = a.fails(a.query, "execute {{ident .Subject}}")
seen(rows == [("the answer for a",)] and error is not None and error.code == "26000", "client b can execute client a's statement, and client a cannot")
