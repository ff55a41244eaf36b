// PostGraphile 4 in watch mode: it listens for changes of the schema.
const { Client } = require('pg')
const { postgraphile } = require('postgraphile')

const listening = new Promise(resolve => { // it does so some time after it has the schema
  const query = Client.prototype.query
  Client.prototype.query = function (...args) {
    const result = query.apply(this, args)
    if (args[0] === 'listen postgraphile_watch') result.then(resolve)
    return result
  }
})

async function main (form) {
  const handler = postgraphile(process.env.DATABASE_URL, 'public', {
    watchPg: true, retryOnInitFail: false, disableQueryLog: true, ownerConnectionString: form === 'direct' ? process.env.DIRECT_URL : undefined
  })
  const schema = await handler.getGraphQLSchema()
  await listening
  return schema.getType('Item') ? 0 : 1
}

main(process.argv[2]).then(faults => process.exit(faults), e => { console.log('wrong:', e.message); process.exit(1) })
