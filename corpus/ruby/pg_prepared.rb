# Two connections, each with a statement that is prepared once and executed often.
require 'pg'

connections = Array.new(2) { PG.connect(ENV.fetch('DATABASE_URL')) }
prepared = {}
faults = 0
(1..5).each do |n|
  connections.zip(%w[name tenant]).each do |c, column|
    sql = "select #{column} from item where id = $1"
    if ARGV[0] == 'faulty'
      prepared[c] ||= c.prepare('a1', sql) # the name that ActiveRecord's first statement has
      answer = c.exec_prepared('a1', [n]).getvalue(0, 0)
    else
      answer = c.exec_params(sql, [n]).getvalue(0, 0)
    end
  rescue PG::Error => e
    answer = e.message
  ensure
    if answer != { 'name' => "item #{n}", 'tenant' => "tenant #{n % 2}" }[column]
      puts "wrong: the #{column} of item #{n} is #{answer}"
      faults += 1
    end
  end
end
exit(faults.zero? ? 0 : 1)
