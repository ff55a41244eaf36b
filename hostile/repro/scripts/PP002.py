a, b = Client("a"), Client("b")

a.parse("s1", "select 'the answer for a'")
a.sync()

b.query("begin")  # takes the server connection that has a's statement


def use():
    a.bind("s1")
    a.execute()
    a.sync()


error = a.fails(use)
seen(error is not None and error.code == "26000", "client a's statement is not on the server connection that it got")
