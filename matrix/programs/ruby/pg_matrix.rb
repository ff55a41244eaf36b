# ruby-pg: each client is a thread with a connection of its own. The default form
# prepares its statements by name, as ActiveRecord does: a1, a2 and so on.
require "pg"

work, form = ARGV
RECIPE = form == "recipe"
class Wrong < StandardError; end

def say(outcome, text = "")
  $stdout.write("#{outcome} #{text.to_s.split.join(" ")[0, 300]}".rstrip + "\n")
  $stdout.flush
end

def expect(what, got, want)
  raise Wrong, "#{what} is #{got.inspect}, not #{want.inspect}" if got != want
end

# A connection and the names of what it has prepared.
class Client
  def initialize
    @c = PG.connect(ENV["DATABASE_URL"])
    @names = {}
  end

  attr_reader :c

  def ask(sql, *values)
    rows =
      if RECIPE
        @c.exec_params(sql, values)
      else
        unless @names[sql]
          name = "a#{@names.size + 1}"
          @c.prepare(name, sql)
          @names[sql] = name
        end
        @c.exec_prepared(@names[sql], values)
      end
    row = rows.values[0]
    row && (row.size == 1 ? row[0] : row)
  end
end

def statements(c, client, n)
  tenant, id, op, value = "tenant #{client}", client + 16 * (n % 10), "#{client}.#{n}", "value #{client}.#{n}"
  questions = [
    -> { expect("the name of item #{id}", c.ask("select name from items where id = $1", id), "item #{id}") },
    -> { expect("the tenant of item #{id}", c.ask("select tenant from items where id = $1", id), tenant) },
  ]
  # Every other client asks in the other order, as an application's requests do.
  (client.even? ? questions : questions.reverse).each(&:call)
  c.ask("insert into written (tenant, op, value) values ($1, $2, $3)", tenant, op, value)
  expect("what was written", c.ask("select value from written where tenant = $1 and op = $2", tenant, op), value)
end

def settings(c, client, n)
  tenant = "tenant #{client}"
  unless RECIPE
    c.c.exec("SET app.tenant TO '#{tenant}'")
    return scoped(c, client, n)
  end
  c.c.transaction do
    c.ask("select set_config('app.tenant', $1, true)", tenant)
    scoped(c, client, n)
  end
end

def scoped(c, client, n)
  tenant, op, value = "tenant #{client}", "#{client}.#{n}", "value #{client}.#{n}"
  expect("what it sees of documents", c.ask("select count(*), min(tenant), max(tenant) from documents"), ["10", tenant, tenant])
  c.ask("insert into notes (op, value) values ($1, $2)", op, value)
  expect("what was written", c.ask("select tenant, value from notes where op = $1", op), [tenant, value])
  expect("the setting", c.ask("select current_setting('app.tenant', true)"), tenant)
end

say("version", PG::VERSION)
first, clients, operations = %w[FIRST CLIENTS OPERATIONS].map { |name| Integer(ENV[name]) }
(first...first + clients).map do |client|
  Thread.new do
    c = nil
    operations.times do |n|
      c = Client.new if c.nil? || c.c.status != PG::CONNECTION_OK
      send(work, c, client, n)
      say("right")
    rescue Wrong => e
      say("wrong", e.message)
    rescue StandardError => e
      say("error", "#{e.class}: #{e.message}")
    end
  end
end.each(&:join)
