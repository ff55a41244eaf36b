a, b = Client("a"), Client("b")
{{- if eq .Statement "RESET ALL"}}

b.query("select set_config('app.of_b', 'x', false)")
a.query("RESET ALL")
rows = b.query("select current_setting('app.of_b', true)")
seen(rows != [("x",)], "what client b had set is gone: client a's reset reached it")
{{- else}}

b.parse("s1", "select 'the answer for b'")
b.sync()
b.bind("s1")
b.execute()
b.sync()  # works: the server connection is the same

a.query({{py .Statement}})


def use():
    b.bind("s1")
    b.execute()
    b.sync()


error = b.fails(use)
seen(error is not None and error.code == "26000", "client b's statement is gone: client a's reset reached it")
{{- end}}
