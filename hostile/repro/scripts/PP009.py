a, b = Client("a"), Client("b")

a.query("select pg_advisory_lock({{.Key}})")
rows = b.query("select pg_try_advisory_lock({{.Key}})")
seen(rows == [("t",)], "client b got the lock that client a holds")
