// What programs see of a training run: the run that it starts from, and how it went. Loads nothing
// of tfjs, also not its types.

/** The finished run that another run starts from. */
export interface WarmStart {
  /** Directory of a finished run. */
  readonly directory: string;
  /**
   * Trains only context layer and head. The tensors that encoderId and itemTowerId cover stay the
   * same byte for byte, so user states and item vectors of the start remain valid. Both runs must
   * have the same schema.
   */
  readonly headOnly: boolean;
}

/** The result of one validation during training. */
export interface ValidationResult {
  readonly step: number;
  /** Mean training loss since the previous validation, in nats. */
  readonly loss: number;
  /** Higher is better. */
  readonly metric: number;
}

/** How a run went; stored with its final weights. */
export interface TrainingResult {
  /** Step whose weights are the final ones. */
  readonly bestStep: number;
  readonly stepsRun: number;
  readonly validations: readonly ValidationResult[];
}
