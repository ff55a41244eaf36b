// PostGraphile 4 in watch mode: it listens for changes of the schema.
const { Connection } = require('pg')
const { postgraphile } = require('postgraphile')

const listening = new Promise(resolve => { // it does so some time after it has the schema
  const query = Connection.prototype.query
  Connection.prototype.query = function (text) {
    if (text === 'listen postgraphile_watch') this.once('readyForQuery', resolve)
    return query.call(this, text)
  }
})

async function main (form) {
  const handler = postgraphile(process.env[form === 'direct' ? 'DIRECT_URL' : 'DATABASE_URL'], 'public', {
    watchPg: true, retryOnInitFail: false, disableQueryLog: true, ownerConnectionString: process.env.DIRECT_URL
  })
  const schema = await handler.getGraphQLSchema()
  await listening
  return schema.getType('Item') ? 0 : 1
}

main(process.argv[2]).then(faults => process.exit(faults), e => { console.log('wrong:', e.message); process.exit(1) })
