// The features page: what is on and off for the connected tenant.

import { Connection } from './connection.js';
import { byId } from './dom.js';
import { FeatureSwitches, readFeatures } from './feature-switches.js';

const connection = new Connection({
  content: byId('features'),
  slot: byId('features-problem'),
  needs: 'configure_features',
  loading: () => byId('switches').setAttribute('aria-busy', 'true'),
  read: (signal) => readFeatures(connection.client, signal),
  show(features) {
    byId('switches').removeAttribute('aria-busy');
    switches.show(features);
  },
  failed: () => byId('switches').removeAttribute('aria-busy'),
  clear: () => switches.clear(),
  named: () => {},
  arrived: () => byId('filter').focus({ preventScroll: true }),
});

const switches = new FeatureSwitches(byId('switches'), connection.client, {
  filter: byId('filter'),
  counted: byId('count'),
  unauthenticated: (problem) => connection.refused(problem),
});

connection.start();
