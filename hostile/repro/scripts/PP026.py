table = "repro_pp026"
a, b = Client("a"), Client("b")
b.query(f"drop table if exists {table}")
b.query(f"create table {table} (n int)")
write = f"insert into {table} values (1)"
a.say(write + ", and the connection dies before the answer")
a.put(b"Q", write.encode() + b"\0")
a.flush()
a.read(1)  # it is committed, but a does not look at what the answer is
a.socket.close()
Client("a, connected again").query(write)
rows = b.query(f"select n from {table}")
b.query(f"drop table {table}")
seen(len(rows) == 2, "the row is there twice")
