a, b = Client("a"), Client("b")

a.query("create temporary sequence poolproof_orders")
mine = a.query("select nextval('poolproof_orders')")
b.fails(b.query, "select nextval('poolproof_orders')")
told = a.query("select currval('poolproof_orders')")
seen(told != mine, "client a is told the number that client b used")
