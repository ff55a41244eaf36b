a, b = Client("a"), Client("b")

a.parse("", "select 'the answer for a'")
a.describe("")
a.sync()  # here the pooler takes the server connection away

b.parse("", "select 'the answer for b'")
b.sync()

a.bind("")
a.execute()
rows = a.sync()
seen(rows == [("the answer for b",)], "client a executed client b's statement, and no error said so")
