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
        Logger.getLogger("").setLevel(Level.OFF);
        int faults = 0;
        var config = new Configuration().addAnnotatedClass(Item.class)
            .setProperty("hibernate.connection.url", System.getenv("JDBC_URL") + (args[0].equals("correct") ? "&prepareThreshold=0" : "&prepareThreshold=2"))
            .setProperty("hibernate.connection.pool_size", "1");
        try (var factory = config.buildSessionFactory()) {
            for (int n = 1; n <= 6; n++) {
                String name;
                try (var session = factory.openSession()) {
                    name = session.find(Item.class, n).name;
                } catch (RuntimeException e) {
                    name = String.valueOf(e.getMessage());
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
