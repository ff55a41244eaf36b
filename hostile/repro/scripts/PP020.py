a, b = Client("a"), Client("b")

a.query("select setseed(0.25)")
first = b.query("select random()")
a.query("select setseed(0.25)")
again = b.query("select random()")
seen(first == again, "client b's random numbers follow from the seed that client a set")
