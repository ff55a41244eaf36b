import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.pgclient.PgBuilder;
import io.vertx.pgclient.PgConnectOptions;
import io.vertx.pgclient.PgConnection;
import io.vertx.pgclient.pubsub.PgSubscriber;
import io.vertx.sqlclient.PoolOptions;
import io.vertx.sqlclient.Row;
import io.vertx.sqlclient.RowSet;
import io.vertx.sqlclient.Tuple;
import java.net.URI;
import java.util.ArrayList;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Vert.x: a pool of one connection; by default it asks in two trips. */
class VertxApp {
    /** Listens through the pooler, or on a connection of its own. */
    static void listen(PgConnectOptions options, String form) throws Exception {
        var direct = URI.create(System.getenv(form.equals("listen") ? "DATABASE_URL" : "DIRECT_URL"));
        var vertx = Vertx.vertx();
        var subscriber = PgSubscriber.subscriber(vertx, new PgConnectOptions(options).setHost(direct.getHost()).setPort(direct.getPort()));
        var heard = new CompletableFuture<String>();
        subscriber.connect().toCompletionStage().toCompletableFuture().get(20, TimeUnit.SECONDS);
        var subscribed = new CompletableFuture<Void>();
        subscriber.channel("news").subscribeHandler(subscribed::complete).handler(heard::complete);
        subscribed.get(20, TimeUnit.SECONDS);
        if (form.equals("correct")) {
            PgConnection.connect(vertx, options).toCompletionStage().toCompletableFuture().get(20, TimeUnit.SECONDS)
                .query("notify news, 'heard'").execute().toCompletionStage().toCompletableFuture().get(20, TimeUnit.SECONDS);
            if (!heard.get(20, TimeUnit.SECONDS).equals("heard")) {
                System.out.println("wrong: heard " + heard.get());
            }
        }
    }

    static long setting(String name) {
        return Long.parseLong(System.getenv().getOrDefault(name, "0"));
    }

    /** Eight queries on one connection, as many at once as its pipelining limit lets. Every other copy asks for numbers. */
    static int together(PgConnectOptions options) throws Exception {
        var quiet = new VertxOptions().setBlockedThreadCheckInterval(3_600_000); // ms: a busy machine is no fault
        var connection = PgConnection.connect(Vertx.vertx(quiet), options).toCompletionStage().toCompletableFuture().get(20, TimeUnit.SECONDS);
        var padding = "x".repeat((int) setting("CORPUS_BYTES"));
        long first = Math.max(setting("CORPUS_FIRST"), 1);
        boolean numbers = first / 10 % 2 == 0 && first > 9;
        String query = "select " + (numbers ? "id" : "name") + " from item where id = $1 and pg_sleep($2) is not null /* " + padding + (numbers ? "xx" : "") + " */";
        boolean mayHang = options.getPipeliningLimit() > 1 && System.getenv().containsKey("CORPUS_PATIENCE");
        long patience = mayHang ? setting("CORPUS_PATIENCE") : 20_000;
        var answers = new ArrayList<CompletableFuture<RowSet<Row>>>();
        for (int n = 0; n < 8; n++) {
            answers.add(connection.preparedQuery(query).execute(Tuple.of((int) first + n, setting("CORPUS_MS") / 1000.0)).toCompletionStage().toCompletableFuture());
        }
        int faults = 0;
        for (int n = 0; n < 8; n++) {
            String name;
            try {
                var rows = answers.get(n).get(patience, TimeUnit.MILLISECONDS);
                Object value = rows.size() == 0 ? "nothing" : rows.iterator().next().getValue(0);
                name = value instanceof Integer ? "item " + value : String.valueOf(value);
            } catch (Exception e) {
                name = String.valueOf(e.getMessage());
            }
            if (!("item " + (first + n)).equals(name)) {
                System.out.println("wrong: item " + (first + n) + " is " + name);
                faults++;
            }
        }
        return faults;
    }

    public static void main(String[] args) throws Exception {
        var url = URI.create(System.getenv("DATABASE_URL"));
        var user = url.getUserInfo().split(":", 2);
        var options = new PgConnectOptions().setHost(url.getHost()).setPort(url.getPort()).setDatabase(url.getPath().substring(1))
            .setUser(user[0]).setPassword(user.length > 1 ? user[1] : "");
        options.setCachePreparedStatements(args[0].equals("cached"));
        String form = args[0];
        options.setUseLayer7Proxy(!form.equals("default") && !form.equals("cached"));
        if (form.equals("properties")) {
            options.addProperty("statement_timeout", "5000");
        }
        if (form.equals("pipelined") || form.equals("limited")) {
            System.exit(together(options.setPipeliningLimit(form.equals("limited") ? 1 : PgConnectOptions.DEFAULT_PIPELINING_LIMIT)) > 0 ? 1 : 0);
        }
        if (form.equals("listen") || form.equals("correct")) {
            listen(options, form);
        }
        var pool = PgBuilder.pool().connectingTo(options).with(new PoolOptions().setMaxSize(1)).using(Vertx.vertx()).build();
        int faults = 0;
        for (int n = 1; n <= 6; n++) {
            String name;
            try {
                name = pool.preparedQuery("select name from item where id = $1").execute(Tuple.of(n)).toCompletionStage()
                    .toCompletableFuture().get(20, TimeUnit.SECONDS).iterator().next().getString(0);
            } catch (Exception e) {
                name = e.getMessage();
            }
            if (!("item " + n).equals(name)) {
                System.out.println("wrong: item " + n + " is " + name);
                faults++;
            }
        }
        System.exit(faults > 0 ? 1 : 0);
    }
}
