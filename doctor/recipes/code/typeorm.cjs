// TypeORM on node-postgres: what a function does works for one tenant, in one transaction.
const { DataSource } = require('typeorm')

// The data source of the application. A time limit that the client keeps, and none that it sends when it logs in.
function createDataSource (url, options) {
  return new DataSource({ type: 'postgres', url, extra: { max: 8, query_timeout: 60_000 }, ...options })
}

// await inTenant(dataSource, tenant, manager => manager.find(Item)): the manager, not the data source, for all that belongs to it.
function inTenant (dataSource, tenant, work) {
  return dataSource.transaction(async manager => {
    await manager.query("select set_config('app.tenant', $1, true)", [tenant])
    return work(manager)
  })
}

module.exports = { createDataSource, inTenant }
