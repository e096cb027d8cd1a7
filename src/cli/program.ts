// The tandem program: one command for each job, in the groups of `tandem --help`. The code of a
// command is loaded only when the command is named, so `tandem serve` never loads tfjs, and
// `tandem --help` loads no command.

import { Command } from 'commander';
import { packageVersion } from '../platform/version.ts';

interface Entry {
  /** The line of `tandem --help`. */
  readonly summary: string;
  readonly load: () => Promise<Command>;
}

const GROUPS: Readonly<Record<string, Readonly<Record<string, Entry>>>> = {
  'Data:': {
    import: {
      summary: 'make a dataset of CSV, NDJSON or Parquet files',
      load: async () => (await import('./import.ts')).importCommand(),
    },
    world: {
      summary: 'generate the synthetic ads world',
      load: async () => (await import('./world.ts')).worldCommand(),
    },
  },
  'Models:': {
    train: {
      summary: 'train a two-tower model',
      load: async () => (await import('./train.ts')).trainCommand(),
    },
    evaluate: {
      summary: 'compare models with all baselines on held-out requests',
      load: async () => (await import('./evaluate.ts')).evaluateCommand(),
    },
    experiment: {
      summary: 'run experiments that a file describes',
      load: async () => (await import('./experiment.ts')).experimentCommand(),
    },
    survival: {
      summary: 'measure which candidates survive a simulated auction',
      load: async () => (await import('./survival.ts')).survivalCommand(),
    },
  },
  'Bundles and user states:': {
    publish: {
      summary: 'publish a training run as a bundle',
      load: async () => (await import('./publish.ts')).publishCommand(),
    },
    encode: {
      summary: 'encode users and items',
      load: async () => (await import('./encode.ts')).encodeCommand(),
    },
    activate: {
      summary: 'make a published bundle current',
      load: async () => (await import('./activate.ts')).activateCommand(),
    },
    rollback: {
      summary: 'make the previous bundle current again',
      load: async () => (await import('./activate.ts')).rollbackCommand(),
    },
    inspect: {
      summary: 'print what a bundle contains',
      load: async () => (await import('./inspect.ts')).inspectCommand(),
    },
    verify: {
      summary: 'check that a bundle computes what it was published with',
      load: async () => (await import('./verify.ts')).verifyCommand(),
    },
  },
  'Server:': {
    serve: {
      summary: 'answer requests for candidates',
      load: async () => (await import('./serve.ts')).serveCommand(),
    },
    supervise: {
      summary: 'run a server and start it again when it fails',
      load: async () => (await import('./supervise.ts')).superviseCommand(),
    },
    config: {
      summary: 'show the settings of the server',
      load: async () => (await import('./config.ts')).configCommand(),
    },
    keys: {
      summary: 'create, list and revoke API keys',
      load: async () => (await import('./keys.ts')).keysCommand(),
    },
    items: {
      summary: 'print the items that were put over HTTP',
      load: async () => (await import('./items.ts')).itemsCommand(),
    },
  },
  'Getting started:': {
    demo: {
      summary: 'run all jobs in one go',
      load: async () => (await import('./demo/demo.ts')).demoCommand(),
    },
    doctor: {
      summary: 'check whether this machine can serve',
      load: async () => (await import('./doctor.ts')).doctorCommand(),
    },
  },
};

/**
 * The program for a command line. Of commands that are not named it knows name and summary only.
 *
 * @param args - the command line. Its first word names the command, or the second after `help`.
 */
export function loadProgram(args: readonly string[]): Promise<Command> {
  const named = args[0] === 'help' ? args[1] : args[0];
  return makeProgram((name) => name === named);
}

/** The program with all of its commands, which the reference pages describe. */
export function loadWholeProgram(): Promise<Command> {
  return makeProgram(() => true);
}

async function makeProgram(isNeeded: (name: string) => boolean): Promise<Command> {
  const program = new Command('tandem')
    .description(
      'Candidate generator: trains, evaluates, publishes and serves a contextual two-tower model.',
    )
    .version(packageVersion(), '-V, --version', 'print the version');
  for (const [heading, commands] of Object.entries(GROUPS))
    for (const [name, { summary, load }] of Object.entries(commands)) {
      const command = isNeeded(name) ? await load() : new Command(name);
      program.addCommand(command.summary(summary).helpGroup(heading));
    }
  return program;
}
