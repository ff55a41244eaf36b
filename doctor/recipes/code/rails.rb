# ActiveRecord: what a block does works for one tenant, in one transaction.
require 'active_record'

module Tenancy
  # For database.yml, as prepared_statements: and so on.
  POOLED = {
    prepared_statements: false, # [untracked]
    advisory_locks: false
  }.freeze

  # Tenancy.with(tenant) { Item.count }. A second one inside is refused: it would change the outer one's tenant.
  def self.with(tenant)
    if ActiveRecord::Base.connection.current_transaction.joinable?
      raise ArgumentError, 'a transaction is open: begin with Tenancy.with'
    end

    ActiveRecord::Base.transaction do
      value = ActiveRecord::Relation::QueryAttribute.new('tenant', tenant, ActiveRecord::Type::String.new)
      ActiveRecord::Base.connection.exec_query("select set_config('app.tenant', $1, true)", 'tenant', [value])
      yield
    end
  end
end

# class ApplicationController < ActionController::Base
#   around_action { |_, action| Tenancy.with(current_tenant_id) { action.call } }
# end
