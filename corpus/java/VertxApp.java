import io.vertx.core.Vertx;
import io.vertx.pgclient.PgBuilder;
import io.vertx.pgclient.PgConnectOptions;
import io.vertx.sqlclient.PoolOptions;
import io.vertx.sqlclient.Tuple;
import java.net.URI;
import java.util.concurrent.TimeUnit;

/** Vert.x: a pool of one connection; by default it asks in two trips. */
class VertxApp {
    public static void main(String[] args) throws Exception {
        var url = URI.create(System.getenv("DATABASE_URL"));
        var user = url.getUserInfo().split(":", 2);
        var options = new PgConnectOptions().setHost(url.getHost()).setPort(url.getPort()).setDatabase(url.getPath().substring(1))
            .setUser(user[0]).setPassword(user.length > 1 ? user[1] : "");
        options.setCachePreparedStatements(args[0].equals("cached"));
        options.setUseLayer7Proxy(args[0].equals("correct"));
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
