{{- if eq .Subject "job"}}table = "repro_pp027"
a, b = Client("a"), Client("b")
b.query(f"drop table if exists {table}")
b.query(f"create table {table} as select 1 as n")
take = f"delete from {table} where n in (select n from {table} limit 1 for update skip locked) returning n"
a.say(take + ", and the connection dies before the answer")
a.put(b"Q", take.encode() + b"\0")
a.flush()
a.read(1)
a.socket.close()
rows = b.query(f"select n from {table}")
b.query(f"drop table {table}")
seen(not rows, "nobody has the job, and it is not in its table any more")
{{- else}}a, b = Client("a"), Client("b")
a.query("begin")
((pid,),) = a.query("select pg_backend_pid()")
a.query("select pg_advisory_xact_lock(25027)")
b.query(f"select pg_terminate_backend({pid}, 5000)")  # stands for a failover
((got,),) = b.query("select pg_try_advisory_xact_lock(25027)")
seen(got == "t", "b has the lock that a took and did not give back")
{{- end}}
