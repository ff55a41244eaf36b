# Asks for several tenants at once: rails.rb FORM OPERATIONS. See recipes_test.go.
require 'json'
require 'uri'
require_relative 'recipe'

FORM = ARGV[0]
OPERATIONS = Integer(ARGV[1])
TENANTS = (1..4).map { |n| "00000000-0000-4000-8000-00000000000#{n}" }
url = URI(ENV.fetch('DATABASE_URL'))
ActiveRecord::Base.establish_connection(
  adapter: 'postgresql', host: url.host, port: url.port, username: url.user, database: url.path[1..], pool: 9,
  **(FORM == 'defaults' ? {} : Tenancy::POOLED)
)

class Item < ActiveRecord::Base
  self.table_name = 'item'
  self.primary_key = 'id'
end

class Note < ActiveRecord::Base
  self.table_name = 'note'
end

def work(tenant, number)
  name = Item.find_by(id: 1 + number % 50)&.name
  Note.insert({ told: tenant }) if (number % 4).zero?
  name == "item #{1 + number % 50} of #{tenant}"
end

def one(number)
  tenant = TENANTS[number % 4]
  return Tenancy.with(tenant) { work(tenant, number) } unless FORM == 'session'

  connection = ActiveRecord::Base.connection # what the recipe replaces
  connection.execute("select set_config('app.tenant', #{connection.quote(tenant)}, false)")
  work(tenant, number)
end

told = { operations: 0, wrong: 0, failed: 0, first: '' }
lock = Mutex.new
Item.columns && Note.columns # before there are threads
threads = Array.new(8) do
  Thread.new do
    ActiveRecord::Base.connection_pool.with_connection do
      loop do
        number = lock.synchronize do
          break if told[:operations] >= OPERATIONS

          (told[:operations] += 1) - 1
        end
        break unless number

        begin
          right = one(number)
          lock.synchronize { told[:wrong] += 1 } unless right
        rescue StandardError => e
          lock.synchronize do
            told[:failed] += 1
            told[:first] = e.message if told[:first].empty?
          end
        end
      end
    end
  end
end
threads.each(&:join)
if FORM == 'recipe'
  told[:wrong] += Item.count # without a tenant
  begin
    Tenancy.with(TENANTS[0]) { Tenancy.with(TENANTS[1]) { told[:wrong] += 1 } }
  rescue ArgumentError
    nil # refused
  end
end
puts JSON.generate(told)
