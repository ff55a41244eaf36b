import static org.jooq.impl.DSL.field;
import static org.jooq.impl.DSL.name;
import static org.jooq.impl.DSL.table;

import java.sql.DriverManager;
import java.sql.SQLException;
import org.jooq.DSLContext;
import org.jooq.Record;
import org.jooq.SQLDialect;
import org.jooq.conf.MappedSchema;
import org.jooq.conf.RenderMapping;
import org.jooq.conf.Settings;
import org.jooq.impl.DSL;
import org.jooq.impl.TableImpl;

/** jOOQ: a tenant for the session or in its transaction. */
class JooqApp {
    public static void main(String[] args) throws SQLException {
        System.setProperty("org.jooq.no-logo", "true");
        System.setProperty("org.jooq.no-tips", "true");
        try (var c = DriverManager.getConnection(System.getenv("JDBC_URL") + "&prepareThreshold=0")) {
            var ctx = DSL.using(c, SQLDialect.POSTGRES);
            if (!args[0].equals("set")) {
                schema(ctx, args[0]);
            }
            if (args[0].equals("schema")) {
                return;
            }
            int n = args[0].equals("correct") ? ctx.transactionResult(t -> items(t.dsl(), "true")) : items(ctx, "false");
            if (n != 250) {
                System.out.println("wrong: the tenant has " + n + " items");
                System.exit(1);
            }
        }
    }

    static void schema(DSLContext ctx, String form) {
        // As jOOQ's generated code has it: the schema belongs to the table.
        var item = new TableImpl<Record>(name("item"), DSL.schema(name("public"))) { };
        int n;
        if (form.equals("schema")) {
            ctx.setSchema("tenant_b").execute();
            n = ctx.fetchCount(table(name("item")));
        } else {
            n = ctx.configuration().derive(new Settings().withRenderMapping(new RenderMapping()
                .withSchemata(new MappedSchema().withInput("public").withOutput("tenant_b")))).dsl().fetchCount(item);
        }
        if (n != 1) {
            System.out.println("wrong: " + n + " items, of another schema");
            System.exit(1);
        }
    }

    static int items(DSLContext ctx, String local) {
        ctx.fetch("select set_config('app.tenant', 'tenant 1', " + local + ")");
        return ctx.fetchCount(ctx.select(field(name("public", "item", "id"))).from(table(name("public", "item")))
            .where("tenant = current_setting('app.tenant', true)"));
    }
}
