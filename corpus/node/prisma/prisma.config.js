const { join } = require('node:path')
const { PrismaPg } = require('@prisma/adapter-pg')

// The adapter of 6.19 cannot read columns of the type name, which the engine asks for: they are texts.
class Adapter extends PrismaPg {
  async connect () {
    const connected = await super.connect()
    const perform = connected.performIO.bind(connected)
    connected.performIO = async query => {
      const result = await perform(query)
      for (const field of result.fields ?? []) if (field.dataTypeID === 19) field.dataTypeID = 25
      return result
    }
    return connected
  }
}

module.exports = {
  experimental: { adapter: true },
  engine: 'js',
  schema: join(__dirname, 'schema.prisma'),
  migrations: { path: join(__dirname, 'migrations') },
  adapter: async () => new Adapter({ connectionString: process.env.MIGRATE_URL })
}
