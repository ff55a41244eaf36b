import jakarta.persistence.Entity;
import jakarta.persistence.Id;
import jakarta.persistence.Table;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.hibernate.Session;
import org.hibernate.SessionFactory;
import org.hibernate.cfg.Configuration;

/** Asks for several tenants at once: Ask FORM OPERATIONS. See recipes_test.go. */
class Ask {
    @Entity(name = "Item")
    @Table(name = "item")
    static class Item {
        @Id int id;
        String name;
    }

    static String work(Session session, String tenant, int n) {
        Item item = session.find(Item.class, 1 + n % 50);
        if (n % 4 == 0) {
            session.createNativeMutationQuery("insert into note (told) values (cast(:told as uuid))").setParameter("told", tenant).executeUpdate();
        }
        return item == null ? null : item.name;
    }

    static boolean one(SessionFactory factory, String form, int n) {
        String tenant = "00000000-0000-4000-8000-00000000000" + (1 + n % 4);
        String seen;
        if (form.equals("session")) { // what the recipe replaces
            try (Session session = factory.openSession()) {
                session.beginTransaction();
                session.createNativeQuery("select set_config('app.tenant', :tenant, false)", String.class).setParameter("tenant", tenant).getSingleResult();
                session.getTransaction().commit();
                session.beginTransaction();
                seen = work(session, tenant, n);
                session.getTransaction().commit();
            }
        } else {
            seen = Tenancy.in(factory, UUID.fromString(tenant), session -> work(session, tenant, n));
        }
        return ("item " + (1 + n % 50) + " of " + tenant).equals(seen);
    }

    public static void main(String[] args) throws InterruptedException {
        Logger.getLogger("").setLevel(Level.OFF);
        String form = args[0];
        int operations = Integer.parseInt(args[1]);
        var settings = form.equals("defaults") ? new Properties() : Tenancy.settings();
        settings.setProperty("hibernate.connection.pool_size", "8");
        settings.setProperty("hibernate.connection.url", System.getenv("JDBC_URL"));
        AtomicInteger next = new AtomicInteger(), wrong = new AtomicInteger(), failed = new AtomicInteger();
        AtomicReference<String> first = new AtomicReference<>("");
        try (var factory = new Configuration().addProperties(settings).addAnnotatedClass(Item.class).buildSessionFactory()) {
            var threads = new Thread[8];
            for (int i = 0; i < threads.length; i++) {
                threads[i] = new Thread(() -> {
                    for (int n = next.getAndIncrement(); n < operations; n = next.getAndIncrement()) {
                        try {
                            if (!one(factory, form, n)) {
                                wrong.incrementAndGet();
                            }
                        } catch (RuntimeException e) {
                            failed.incrementAndGet();
                            first.compareAndSet("", String.valueOf(e.getMessage()));
                        }
                    }
                });
                threads[i].start();
            }
            for (var thread : threads) {
                thread.join();
            }
            if (form.equals("recipe")) { // without a tenant
                wrong.addAndGet(factory.fromTransaction(s -> s.createQuery("from Item", Item.class).getResultList().size()));
            }
        }
        System.out.printf("{\"operations\":%d,\"wrong\":%d,\"failed\":%d,\"first\":\"%s\"}%n",
            operations, wrong.get(), failed.get(), first.get().replaceAll("[\"\\\\\n]", " "));
        System.exit(0);
    }
}
