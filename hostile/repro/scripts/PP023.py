a = Client("a")


def prepare():
    a.parse("s1", "select n from pg_temp.made_later")
    a.sync()


error = a.fails(prepare)
a.query("begin")
a.query("create temporary table made_later (n int) on commit drop")  # gone with the transaction
error = a.fails(prepare)
seen(error is not None and error.code == "08P01", "the statement could not be sent again: the pooler hung up")
