import io.r2dbc.postgresql.PostgresqlConnectionConfiguration;
import io.r2dbc.postgresql.PostgresqlConnectionFactory;
import io.r2dbc.postgresql.api.PostgresTransactionDefinition;
import io.r2dbc.spi.IsolationLevel;
import java.net.URI;
import java.time.Duration;
import reactor.core.publisher.Flux;

/** R2DBC: one connection, one query again and again; and a time limit. */
class R2dbcApp {
    public static void main(String[] args) {
        var url = URI.create(System.getenv("DATABASE_URL"));
        var user = url.getUserInfo().split(":", 2);
        var config = PostgresqlConnectionConfiguration.builder().host(url.getHost()).port(url.getPort())
            .database(url.getPath().substring(1)).username(user[0]).password(user.length > 1 ? user[1] : "none");
        if (!args[0].equals("default")) {
            config.preparedStatementCacheQueries(0);
        }
        if (args[0].equals("timeout")) {
            config.statementTimeout(Duration.ofSeconds(5));
        }
        int faults = 0;
        try {
            var connection = new PostgresqlConnectionFactory(config.build()).create().block(Duration.ofSeconds(20));
            if (args[0].equals("isolation")) {
                connection.setTransactionIsolationLevel(IsolationLevel.SERIALIZABLE).block(Duration.ofSeconds(20));
            } else if (args[0].equals("correct")) {
                connection.beginTransaction(PostgresTransactionDefinition.from(IsolationLevel.SERIALIZABLE)).block(Duration.ofSeconds(20));
                String level = Flux.from(connection.createStatement("show transaction_isolation").execute())
                    .flatMap(r -> r.map((row, meta) -> row.get(0, String.class))).blockLast(Duration.ofSeconds(20));
                connection.commitTransaction().block(Duration.ofSeconds(20));
                if (!level.equals("serializable")) {
                    System.out.println("wrong: " + level);
                    faults++;
                }
            }
            for (int n = 1; n <= 6; n++) {
                String name;
                try {
                    name = Flux.from(connection.createStatement("select name from item where id = $1").bind("$1", n).execute())
                        .flatMap(r -> r.map((row, meta) -> row.get(0, String.class))).blockLast(Duration.ofSeconds(20));
                } catch (RuntimeException e) {
                    name = e.getMessage();
                }
                if (!("item " + n).equals(name)) {
                    System.out.println("wrong: item " + n + " is " + name);
                    faults++;
                }
            }
        } catch (RuntimeException e) {
            System.out.println("wrong: " + e.getMessage());
            faults++;
        }
        System.exit(faults > 0 ? 1 : 0);
    }
}
