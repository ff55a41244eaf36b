// What the programs on Node share: they ask for several tenants at once. See recipes_test.go.
const tenants = [1, 2, 3, 4].map(n => `00000000-0000-4000-8000-00000000000${n}`)

// one(tenant, id, note) returns an item's name, and stores a note if it is told so; bare() the number of items without a tenant.
exports.ask = async (operations, one, bare) => {
  const told = { operations: 0, wrong: 0, failed: 0, first: '' }
  const worker = async () => {
    while (told.operations < operations) {
      const n = told.operations++
      const tenant = tenants[n % 4]
      const id = 1 + n % 50
      try {
        if (await one(tenant, id, n % 4 === 0) !== `item ${id} of ${tenant}`) told.wrong++
      } catch (e) {
        told.failed++
        told.first ||= String((e.cause ?? e).message)
      }
    }
  }
  await Promise.all(Array.from({ length: 8 }, worker))
  if (bare) told.wrong += await bare()
  console.log(JSON.stringify(told))
}
