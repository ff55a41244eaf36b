// PostGraphile 4: a query of its schema, whose statements it prepares.
if (process.argv[2] === 'correct') process.env.POSTGRAPHILE_PREPARED_STATEMENT_CACHE_SIZE = '0' // it is read when the library is loaded
const { Pool } = require('pg')
const { createPostGraphileSchema, withPostGraphileContext } = require('postgraphile')
const { graphql } = require('graphql')

async function main () {
  const direct = new Pool({ connectionString: process.env.DIRECT_URL })
  const schema = await createPostGraphileSchema(direct, ['public'], {})
  await direct.end()
  const pgPool = new Pool({ connectionString: process.env.DATABASE_URL, max: 2 })
  let faults = 0
  const ask = async n => {
    const answer = await withPostGraphileContext({ pgPool }, async context => {
      const { data, errors } = await graphql(schema, `{ itemById(id: ${n}) { name } }`, null, { ...context })
      return errors ? errors[0].message : data.itemById.name
    }).catch(e => e.message)
    if (answer !== `item ${n}`) {
      console.log(`wrong: item ${n} is ${answer}`)
      faults++
    }
  }
  for (let n = 1; n <= 6; n++) await Promise.all([ask(n), ask(n + 100)])
  await pgPool.end()
  return faults
}

main().then(faults => process.exit(faults ? 1 : 0), e => { console.log('wrong:', e.message); process.exit(1) })
