a, b = Client("a"), Client("b")

((pid,),) = a.query("select pg_backend_pid()")

b.query("begin")  # takes the server connection that a had
((other,),) = b.query("select pg_backend_pid()")
b.parse("", "select pg_sleep(2)")
b.bind("")
b.execute()
b.put(b"S")
b.flush()
for _ in range(100):  # until it runs: a request before that stops nothing
    if a.query(f"select 1 from pg_stat_activity where pid = {other} and query like 'select pg_sleep%'"):
        break

a.fails(a.query, f"select pg_cancel_backend({pid})")


def wait():
    b.answers()


error = b.fails(wait) if pid == other else None
seen(error is not None and error.code == "57014", "client a cancelled client b's statement")
