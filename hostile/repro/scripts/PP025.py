table = "repro_pp025"
a, b = Client("a"), Client("b")
b.query(f"drop table if exists {table}")
b.query(f"create table {table} (n int)")
a.fails(a.query, "begin isolation level of a bad day")  # stands for any error of BEGIN
a.query(f"insert into {table} values (1)")
a.query("rollback")
rows = b.query(f"select n from {table}")
b.query(f"drop table {table}")
seen(len(rows) > 0, "the row is there after ROLLBACK")
