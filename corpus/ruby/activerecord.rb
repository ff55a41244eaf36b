# ActiveRecord: queries, the lock that its migrations take, and a setting when it connects.
require 'active_record'
require 'uri'

form = ARGV[0]
url = URI(ENV.fetch('DATABASE_URL'))
ActiveRecord::Base.establish_connection(
  adapter: 'postgresql', host: url.host, port: url.port, username: url.user, database: url.path[1..],
  prepared_statements: form == 'prepared', advisory_locks: form == 'lock',
  variables: form == 'variables' ? { statement_timeout: 5000 } : {}
)

class Item < ActiveRecord::Base
  self.table_name = 'item'
end

faults = 0
if form == 'lock'
  # What rails db:migrate does around the migrations (ActiveRecord::Migrator#with_advisory_lock).
  c = ActiveRecord::Base.connection
  got = c.get_advisory_lock(4_222_222)
  Item.find(1)
  released = c.release_advisory_lock(4_222_222)
  unless got && released
    puts "wrong: lock #{got}, released #{released}"
    faults += 1
  end
else
  (1..6).each do |n|
    name = begin
      Item.find(n).name
    rescue ActiveRecord::StatementInvalid => e
      e.message
    end
    next if name == "item #{n}"

    puts "wrong: item #{n} is #{name}"
    faults += 1
  end
end
exit(faults.zero? ? 0 : 1)
