import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_TRAINING, parseTrainConfig } from './train-config.ts';

function refuses(settings: object, message: RegExp): void {
  assert.throws(() => parseTrainConfig({ ...DEFAULT_TRAINING, ...settings }), {
    code: 'ERR_CONFIG_INVALID',
    message,
  });
}

describe('parseTrainConfig', () => {
  it('takes the defaults as they are, and fills in those of a loss', () => {
    assert.deepEqual(parseTrainConfig(DEFAULT_TRAINING), DEFAULT_TRAINING);
    const parsed = parseTrainConfig({ ...DEFAULT_TRAINING, loss: { kind: 'sampled' } });
    assert.deepEqual(parsed.loss, {
      kind: 'sampled',
      inBatch: true,
      negatives: 512,
      unigramShare: 0.5,
      hardNegatives: 0,
      logQ: 'negativesOnly',
    });
    assert.deepEqual(parseTrainConfig(parsed), parsed);
  });

  it('refuses settings of another loss or objective, and names that do not exist', () => {
    refuses({ loss: { kind: 'full', negatives: 5 } }, /negatives/);
    refuses({ loss: { kind: 'bce', logQ: 'none' } }, /logQ/);
    refuses({ objective: { kind: 'next', windowDays: 3 } }, /windowDays/);
    refuses({ positivesPerUser: 'some' }, /positivesPerUser/);
    refuses({ temperatur: 0.1 }, /temperatur/);
  });

  it('refuses in-batch negatives without correction, and says why', () => {
    const loss = { kind: 'sampled', logQ: 'none' };
    refuses({ loss }, /popular items would be pushed away/);
    parseTrainConfig({ ...DEFAULT_TRAINING, loss: { ...loss, inBatch: false } });
  });

  it('refuses a sampled loss without a negative', () => {
    const none = { negatives: 0, hardNegatives: 0 };
    refuses({ loss: { kind: 'sampled', inBatch: false, ...none } }, /negatives for the sampled/);
    refuses({ loss: { kind: 'bce', ...none } }, /negatives for the bce/);
    parseTrainConfig({ ...DEFAULT_TRAINING, loss: { kind: 'sampled', ...none } });
  });

  it('refuses gBCE with negatives that are not uniform', () => {
    for (const other of [{ unigramShare: 0.5 }, { hardNegatives: 4 }]) {
      refuses({ loss: { kind: 'bce', ...other } }, /uniform negatives for gBCE/);
      parseTrainConfig({
        ...DEFAULT_TRAINING,
        loss: { kind: 'bce', calibration: 0, ...other },
      });
    }
  });

  it('refuses item frequency when items of the history are left out of the loss', () => {
    const model = { ...DEFAULT_TRAINING.model, itemFrequency: true };
    refuses({ model, repeats: false }, /repeats for itemFrequency/);
    assert.deepEqual(parseTrainConfig({ ...DEFAULT_TRAINING, model }).model, model);
  });

  it('refuses a learned temperature that starts outside its bounds', () => {
    for (const temperature of [0.01, 1, 2]) {
      refuses({ temperature, learnTemperature: true }, /between 0.01 and 1/);
      parseTrainConfig({ ...DEFAULT_TRAINING, temperature });
    }
  });

  it('refuses the subject item when no example has an item in view', () => {
    const model = { ...DEFAULT_TRAINING.model, subjectItem: true };
    for (const none of [{ neighbourShare: 0 }, { queryShare: 1 }]) {
      refuses({ model, ...none }, /item in view for subjectItem/);
      parseTrainConfig({ ...DEFAULT_TRAINING, model, ...none, loggedShare: 0.1 });
    }
    refuses({ model: { ...model, fusion: 'none' }, loggedShare: 1 }, /fusion/);
    parseTrainConfig({ ...DEFAULT_TRAINING, model });
  });
});
