import jakarta.persistence.Entity;
import jakarta.persistence.Id;
import jakarta.persistence.Table;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.hibernate.cfg.Configuration;

/** Hibernate on pgjdbc: entities by id, with pgjdbc's default and without its prepared statements. */
class HibernateApp {
    @Entity(name = "Item")
    @Table(name = "item")
    static class Item {
        @Id
        int id;
        String name;
    }

    public static void main(String[] args) {
        try {
            run(args);
        } catch (RuntimeException e) {
            System.out.println("wrong: " + root(e));
            System.exit(1);
        }
    }

    /** What the server said, which Hibernate wraps. */
    static Throwable root(Throwable e) {
        return e.getCause() == null ? e : root(e.getCause());
    }

    static void run(String[] args) {
        Logger.getLogger("").setLevel(Level.OFF);
        String form = args[0];
        int faults = 0;
        var config = new Configuration().addAnnotatedClass(Item.class)
            .setProperty("hibernate.connection.url", System.getenv("JDBC_URL") + (form.equals("default") ? "&prepareThreshold=2" : "&prepareThreshold=0"))
            .setProperty("hibernate.connection.pool_size", "1");
        try (var factory = config.buildSessionFactory()) {
            if (!form.equals("default")) {
                try (var session = factory.openSession()) {
                    var tx = session.beginTransaction();
                    session.createNativeMutationQuery("set " + (form.equals("correct") ? "local" : "session") + " search_path to tenant_b").executeUpdate();
                    String name = session.find(Item.class, 1).name;
                    tx.commit();
                    if (!name.equals("item 1 of tenant b")) {
                        System.out.println("wrong: " + name + ", of another schema");
                        faults++;
                    }
                }
            }
            for (int n = 1; n <= 6 && !form.equals("schema"); n++) {
                String name;
                try (var session = factory.openSession()) {
                    name = session.find(Item.class, n).name;
                } catch (RuntimeException e) {
                    name = String.valueOf(root(e).getMessage());
                }
                if (!name.equals("item " + n)) {
                    System.out.println("wrong: item " + n + " is " + name);
                    faults++;
                }
            }
        }
        System.exit(faults > 0 ? 1 : 0);
    }
}
