import static org.jooq.impl.DSL.field;
import static org.jooq.impl.DSL.name;
import static org.jooq.impl.DSL.table;

import java.sql.DriverManager;
import java.sql.SQLException;
import org.jooq.DSLContext;
import org.jooq.SQLDialect;
import org.jooq.impl.DSL;

/** jOOQ: a tenant for the session or in its transaction. */
class JooqApp {
    public static void main(String[] args) throws SQLException {
        System.setProperty("org.jooq.no-logo", "true");
        System.setProperty("org.jooq.no-tips", "true");
        try (var c = DriverManager.getConnection(System.getenv("JDBC_URL") + "&prepareThreshold=0")) {
            var ctx = DSL.using(c, SQLDialect.POSTGRES);
            int n = args[0].equals("correct") ? ctx.transactionResult(t -> items(t.dsl(), "true")) : items(ctx, "false");
            if (n != 250) {
                System.out.println("wrong: the tenant has " + n + " items");
                System.exit(1);
            }
        }
    }

    static int items(DSLContext ctx, String local) {
        ctx.fetch("select set_config('app.tenant', 'tenant 1', " + local + ")");
        return ctx.fetchCount(ctx.select(field(name("public", "item", "id"))).from(table(name("public", "item")))
            .where("tenant = current_setting('app.tenant', true)"));
    }
}
